module asgd/test/volcano

go 1.26.4

require volcano.sh/volcano v1.10.0
