module lab/tools/testpod

go 1.26.0
