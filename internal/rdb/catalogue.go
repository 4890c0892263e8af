package rdb

type catalogueCache struct{}
