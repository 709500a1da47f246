# ampcloudd
