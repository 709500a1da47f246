# unit tests and fuzz targets: scan
