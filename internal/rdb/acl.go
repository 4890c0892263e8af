package rdb

import (
	"cmp"
	"strings"
)

// ACL returns the rules of a Redis user for the CRMs of one environment: what the
// protocol needs there, and nothing of other environments or the catalogue. They
// are arguments of ACL SETUSER, after the user's name, "on" and a password. Groups are
// used of the command stream alone: another one of the reports would keep them from being
// trimmed.
//
// With sdk, CRMs made with package crm can be this user: their scripts share units among
// several CRMs. A script can keep a Redis busy for as long as it likes, so others get none.
// It needs to read and to write every key that it names, so streams that a CRM only
// appends to are readable as well; the records of its units are not writable.
func (k Keys) ACL(env string, sdk bool) []string {
	k = k.orDefault()
	rules := []string{"resetkeys", "resetchannels", "clearselectors", "-@all"}
	for _, key := range []string{k.units(env), k.unitDigests(env), k.statuses(env)} {
		rules = append(rules, "%R~"+pattern(key))
	}
	written := []string{k.commands(env), k.reports(env), k.dead(env)}
	commands := `hello auth ping select client|setname
		command cluster|slots cluster|shards cluster|nodes readonly asking
		multi exec hget hmget hgetall hscan hkeys hlen xadd xlen xrange xrevrange xinfo|groups`
	if sdk {
		written = append(written, k.owners(env), k.leases(env), k.processes(env))
		commands += ` eval evalsha time hset hdel`
	}
	for _, key := range written {
		rules = append(rules, "~"+pattern(key))
	}
	for command := range strings.FieldsSeq(commands) {
		rules = append(rules, "+"+command)
	}
	return append(rules, "(~"+pattern(k.commands(env))+" +xgroup|create +xreadgroup +xpending +xclaim +xautoclaim +xack)")
}

func (k Keys) orDefault() Keys {
	return Keys{N: cmp.Or(k.N, "oaas_pm"), T: cmp.Or(k.T, "oaas.pm")}
}

// pattern matches key alone.
func pattern(key string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(key)
}
