# unit tests and fuzz targets: base
