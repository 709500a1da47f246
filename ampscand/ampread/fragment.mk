# ampscand/ampread
