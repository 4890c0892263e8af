package rdb_test

import (
	"fmt"
	"testing"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

var sizes = []int{100, 10_000}

// world is a ledger with n packages of one class and one running unit each.
func world(b *testing.B, url string, n int) *rdb.DB {
	b.Helper()
	db := open(b, url)
	c := reconcile.Commit{
		Packages: map[string]oprc.PackageRecord{},
		Classes:  map[string]oprc.Class{}, Deployments: map[string]oprc.Deployment{},
	}
	var writes []ingest.StatusWrite
	for i := range n {
		name := fmt.Sprintf("p%d", i)
		key := name + ".record"
		c.Packages[name] = record(name, 1, "1")
		c.Classes[key] = oprc.Class{Key: key, Name: "record", Pkg: name}
		c.Deployments[key] = oprc.Deployment{Key: key, TargetEnvs: []string{"edge"}}
		writes = append(writes, ingest.StatusWrite{ID: oprc.UnitID(key, 0, 0, "edge"), New: status(1, oprc.Running, "1-1")})
	}
	if err := write(b, db, c); err != nil {
		b.Fatal(err)
	}
	if err := db.Dispatch(b.Context(), "edge", deploys(n, 1), 0); err != nil {
		b.Fatal(err)
	}
	if _, err := db.Fold(b.Context(), "edge", writes, nil, nil); err != nil {
		b.Fatal(err)
	}
	return db
}

func deploys(n int, generation int64) []oprc.Command {
	var cmds []oprc.Command
	for i := range n {
		cmds = append(cmds, command(unit(fmt.Sprintf("p%d.record", i), 0, 0, "edge"), oprc.Deploy, generation))
	}
	return cmds
}

// BenchmarkLive is a tick in which nothing changed.
func BenchmarkLive(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := world(b, rdbtest.Server(b), n)
			for b.Loop() {
				if _, err := db.Live(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLiveCold is the first reading of a process.
func BenchmarkLiveCold(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			url := rdbtest.Server(b)
			world(b, url, n)
			for b.Loop() {
				db := open(b, url)
				if _, err := db.Live(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDispatch(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := open(b, rdbtest.Server(b))
			generation := int64(0)
			for b.Loop() {
				generation++
				if err := db.Dispatch(b.Context(), "edge", deploys(n, generation), 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
