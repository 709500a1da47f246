# unit tests and fuzz targets: walls
