"""What `docs/make.py` is made of: a module for each page that has tables or pictures made from figures or declarations."""
