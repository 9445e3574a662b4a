"""How good poses are: OKS average precision, PCK and its kin, calibration, intervals. Numpy only, never torch."""
