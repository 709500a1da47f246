# ampmon
