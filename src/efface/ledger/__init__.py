"""An organisation's memory: its image sets, the models that learnt from them, who asked for what, and what was done.

`docs/requests.md` says how it is used. A ledger is opened with `efface.ledger.opening.Ledger`. Nothing here imports torch.
"""
