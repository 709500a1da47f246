# unit tests and fuzz targets: cli
