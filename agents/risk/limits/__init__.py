"""What may be ordered and held: the limits file, its changes at run time, and each shard's share of the portfolio's."""
