"""Any torch network from picture to picture: named by a factory and a file of weights, or held in memory."""
