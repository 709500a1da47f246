# unit tests and fuzz targets: read
