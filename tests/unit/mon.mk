# unit tests and fuzz targets: mon
