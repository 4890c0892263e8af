package plan_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// promised is a class that promises an availability in three environments.
func promised(availability float64, consistency oprc.Consistency) oprc.Package {
	p := shop("pay:1")
	p.Classes[0].Parents = nil
	p.Classes[0].Requirements = &oprc.Requirements{Availability: availability}
	p.Classes[0].Constraints = &oprc.Constraints{Consistency: consistency}
	p.Deployments = []oprc.Deployment{{Key: ".cart", PartitionCount: 2, TargetEnvs: []string{"e1", "e2", "e3"}}}
	return p
}

func TestExplainPlacement(t *testing.T) {
	l := newLedger(environment("e1", 0.95), environment("e2", 0.95), environment("e3", 0.95))
	l.must(t, files(promised(0.99, oprc.BoundedStaleness)))
	got, err := plan.ExplainPlacement(l.live, "shop.cart", nil)
	if err != nil {
		t.Fatal(err)
	}
	wantQ := []plan.Quorum{{N: 1, Need: 1, Q: 0.95}, {N: 2, Need: 1, Q: 0.9975, Reaches: true}}
	if diff := cmp.Diff(wantQ, got.Quorums); diff != "" {
		t.Errorf("quorums (-want +got):\n%s", diff)
	}
	if got.Replicas != 2 || got.Changes || got.Failed || got.Package != "shop" {
		t.Errorf("got %+v, want 2 replicas as they are recorded", got)
	}
	if owners := ownersOf(got); !cmp.Equal(owners, recordedOwners(l.live.Deployments["shop.cart"])) {
		t.Errorf("owners %v are not the recorded ones", owners)
	}
	for _, s := range got.Shares {
		for _, o := range s.Owners {
			if !strings.Contains(o.Why, "before") || o.Primary != (o.WhyLead != "") {
				t.Errorf("partition %d: %+v, want an owner that was there before", s.Partition, o)
			}
		}
	}
}

// Without an environment its shards move, and only those.
func TestExplainPlacementWithout(t *testing.T) {
	l := newLedger(environment("e1", 0.95), environment("e2", 0.95), environment("e3", 0.95))
	l.must(t, files(promised(0.99, oprc.BoundedStaleness)))
	got, err := plan.ExplainPlacement(l.live, "shop.cart", []string{"e2"})
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for _, s := range got.Shares {
		for _, o := range s.Owners {
			if o.Env == "e2" {
				t.Errorf("partition %d is owned by the environment that is gone", s.Partition)
			}
			if strings.Contains(o.Why, "takes over from e2 (gone)") {
				moved++
			}
		}
	}
	lost := 0
	for _, owner := range recordedOwners(l.live.Deployments["shop.cart"]) {
		if strings.HasSuffix(owner, "@e2") {
			lost++
		}
	}
	if !got.Changes || lost == 0 || moved != lost {
		t.Errorf("%d shards took over, want the %d that were lost; changes: %t", moved, lost, got.Changes)
	}
	if diff := cmp.Diff([]string{"e2"}, got.Without); diff != "" {
		t.Error(diff)
	}
}

func TestExplainPlacementThatFails(t *testing.T) {
	l := newLedger(environment("e1", 0.95), environment("e2", 0.95), environment("e3", 0.95))
	l.must(t, files(promised(0.99, oprc.Strong)))
	got, err := plan.ExplainPlacement(l.live, "shop.cart", []string{"e1"})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Failed || len(got.Shares) > 0 || got.Best != 0.95 || got.Diagnostics.Err() == nil {
		t.Errorf("got %+v, want the best that two environments can do: 0.95", got)
	}
	for name, call := range map[string]func() error{
		"class":       func() error { _, err := plan.ExplainPlacement(l.live, "shop.nothing", nil); return err },
		"environment": func() error { _, err := plan.ExplainPlacement(l.live, "shop.cart", []string{"e9"}); return err },
		"switched off": func() error {
			l.must(t, files(edited(promised(0.9, oprc.Strong), func(p *oprc.Package) { p.Disabled = true })))
			_, err := plan.ExplainPlacement(l.live, "shop.cart", nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, oprc.ErrNotFound) {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
}

// ownersOf lists "partition/member@env".
func ownersOf(p plan.Placing) []string {
	var out []string
	for _, s := range p.Shares {
		for _, o := range s.Owners {
			out = append(out, fmt.Sprintf("%d/%d@%s", s.Partition, o.Member, o.Env))
		}
	}
	return out
}

func recordedOwners(d oprc.Deployment) []string {
	envs := map[int]string{}
	for _, m := range d.Members {
		envs[m.ID] = m.Env
	}
	var out []string
	for partition, as := range d.Assignments {
		for _, id := range as.Owners {
			out = append(out, fmt.Sprintf("%d/%d@%s", partition, id, envs[id]))
		}
	}
	return out
}
