"""What tests share: tiny models, made pictures, short runs, and modules that run in processes of their own."""
