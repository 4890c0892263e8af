package rdb

// DispatchOnly is Dispatch without the look at the catalogue that comes before.
var DispatchOnly = (*DB).dispatch
