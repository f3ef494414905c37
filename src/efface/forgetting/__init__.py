"""How well an image classifier forgot: pure statistics on arrays `[models, examples]`.

`official` is the scorer of the NeurIPS-2023 unlearning competition, number for number; `robust` is the same
question without its noise floor; `comparison` puts a score beside its ceiling, its floor and the value of doing
nothing. The other modules hold what the field reports beside it. `declared` lists all with direction and source.

Nothing here imports torch or knows a model: inputs are NumPy arrays, outputs arrays and small dataclasses.
"""
