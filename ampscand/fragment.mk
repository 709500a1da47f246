# ampscand
