"""Planted failures: models of which it is known whether they forgot, and what the product says of each.

`worlds` trains the honest models of a seed, `generators` and `classifiers` plant failures among them, `asking` puts every
plant to the product, and `bound` is a bound on weights that is elsewhere sold as a certificate.
"""
