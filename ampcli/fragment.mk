# ampcli
