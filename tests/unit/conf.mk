# unit tests and fuzz targets: conf
