"""Where images come from, which of them are to be forgotten, and how they are read.

`sources` lists and identifies images, `selection` splits them into forget, retain and neutral,
`reading` decodes, `cache` keeps decoded pixels on disk, `crops` cuts training and evaluation views,
`copies` finds images of one set that hide in another, `bundled` holds sample photographs.
`pairs` finds each image's other picture; `split_making` and `splits` write and read which images of
ImageNet-1K and Places365 are used, wherever `imagenet`, `places` and `archives` find them.
Importing this package loads none of them.
"""
