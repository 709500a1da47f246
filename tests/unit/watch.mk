# unit tests and fuzz targets: watch
