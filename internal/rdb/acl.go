package rdb

import (
	"cmp"
	"strings"
)

// ACL returns the rules of a Redis user for the CRMs of one environment: what the
// protocol needs there, and nothing of other environments or the catalogue. They
// are arguments of ACL SETUSER, after the user's name, "on" and a password.
//
// A script needs to read and to write every key that it names, so streams that a
// CRM only appends to are readable as well; the records of its units are not
// writable.
func (k Keys) ACL(env string) []string {
	k = k.orDefault()
	rules := []string{"resetkeys", "resetchannels", "-@all"}
	for _, key := range []string{k.units(env), k.unitDigests(env), k.statuses(env)} {
		rules = append(rules, "%R~"+pattern(key))
	}
	for _, key := range []string{k.owners(env), k.leases(env), k.processes(env), k.commands(env), k.reports(env), k.dead(env)} {
		rules = append(rules, "~"+pattern(key))
	}
	for _, command := range strings.Fields(`
		hello auth ping select client|setname
		command cluster|slots cluster|shards cluster|nodes readonly asking
		multi exec eval evalsha time
		hget hmget hgetall hscan hkeys hlen hset hdel
		xgroup|create xreadgroup xpending xclaim xautoclaim xack xadd xlen xrange xrevrange xinfo|groups`) {
		rules = append(rules, "+"+command)
	}
	return rules
}

func (k Keys) orDefault() Keys {
	return Keys{N: cmp.Or(k.N, "oaas_pm"), T: cmp.Or(k.T, "oaas.pm")}
}

// pattern matches key alone.
func pattern(key string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(key)
}
