# unit tests and fuzz targets: cloud
