// Package embedded is the Redis that comes with the binary: for development and
// first steps, so that nothing needs to be installed or configured.
//
//	Open -> flock -> load snapshot -> serve RESP on a loopback port -> Close -> save
//
// One process owns the state of a directory at a time. A second one waits for
// its turn; if the owner has announced itself as long-lived ([Instance.Hold]),
// it connects to the owner's port instead. Any Redis client that knows the URL
// can connect.
//
// The snapshot holds strings, hashes, lists, sets, sorted sets and streams with
// their consumer groups and pending entries, of database 0. HyperLogLogs and
// expiry times of single hash fields are not kept.
package embedded
