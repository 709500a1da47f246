# unit tests and fuzz targets: channel
