package plan_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

var redaction = plan.Redaction{Mask: []string{"*PASSWORD*"}, Salt: "c0ffee"}

func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// against plans the same on a snapshot that went through a file.
func against(t interface{ Fatal(...any) }, in plan.Input) *plan.Plan {
	s, err := plan.NewSnapshot(in.Live, redaction, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Encode(signer(1))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("s3cret")) {
		t.Fatal("the snapshot holds a secret")
	}
	if s, err = plan.DecodeSnapshot(raw, public(signer(1))); err != nil {
		t.Fatal(err)
	}
	in.Live = s.Live
	if in.Documents, err = s.Redaction.Documents(in.Documents); err != nil {
		t.Fatal(err)
	}
	return plan.Make(in)
}

// A plan on a snapshot has the same changes, for the same reasons and on the same
// base, as one on the state that the snapshot was taken of.
func TestLawSnapshotPlansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		next := w.mutate(t)
		for name, p := range next.packages {
			if chance(t, 3, "another secret") {
				p = edited(p, func(p *oprc.Package) {
					p.Functions[0].Provision = &oprc.Provision{Docker: &oprc.Docker{Image: "img:1", Env: oprc.Env{"DB_PASSWORD": {Text: "s3cret2"}}}}
				})
				next.packages[name] = p
			}
		}
		in := next.of(rapid.SampledFrom(origins).Draw(t, "origin"))
		in.Live = l.live
		want, got := plan.Make(in), against(t, in)
		if diff := cmp.Diff(described(want), described(got)); diff != "" {
			t.Fatalf("changes (-live +snapshot):\n%s", diff)
		}
		if diff := cmp.Diff(want.Base, got.Base); diff != "" {
			t.Fatalf("base (-live +snapshot):\n%s", diff)
		}
		if diff := cmp.Diff(want.Summary, got.Summary); diff != "" {
			t.Fatalf("summary (-live +snapshot):\n%s", diff)
		}
	})
}

// Where no secret is in what changes, it is the same plan, and can be applied.
func TestSnapshotWithoutSecretsPlansTheSameBytes(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	plain := oprc.Package{Name: "plain", Functions: []oprc.Function{{Name: "f", Type: oprc.Logical, State: oprc.Enabled}}}
	in := files(plain)
	in.Live = l.live
	want, got := plan.Make(in), against(t, in)
	if want.ID != got.ID {
		t.Errorf("plan %s on the snapshot, %s on live state", got.ID, want.ID)
	}
}

func TestRedactedPlanShowsThatASecretChanges(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(edited(shop("pay:1"), func(p *oprc.Package) {
		p.Functions = []oprc.Function{task("pay", "pay:1")}
		p.Functions[0].Provision.Docker.Env = oprc.Env{"DB_PASSWORD": {Text: "s3cret-next"}}
	}))
	in.Live = l.live
	p := against(t, in)
	real := plan.Make(in)
	if p.Empty() || p.ID == real.ID {
		t.Errorf("changes %v, id %s, on live state %s: want the new secret to be a change under an id of its own", described(p), p.ID, real.ID)
	}
	same := files(shop("pay:1"))
	same.Live = l.live
	if p := against(t, same); !p.Empty() {
		t.Errorf("the same secret is a change: %v", described(p))
	}
}

func TestSnapshotThatWasChanged(t *testing.T) {
	s, err := plan.NewSnapshot(settled(t, oprc.OriginCLI).live, redaction, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := s.Encode(signer(1))
	plain, _ := s.Encode(nil)
	edit := func(raw []byte, old, new string) []byte {
		changed := bytes.Replace(raw, []byte(old), []byte(new), 1)
		if bytes.Equal(changed, raw) {
			t.Fatalf("%q is not in the file", old)
		}
		return changed
	}
	resealed := func(raw []byte) []byte { // by someone who knows the format, but not the key
		other, _ := s.Encode(signer(2))
		at := bytes.Index(other, []byte(`"signature"`))
		return append(raw[:bytes.Index(raw, []byte(`"signature"`)):bytes.Index(raw, []byte(`"signature"`))], other[at:]...)
	}
	for name, c := range map[string]struct {
		raw []byte
		key ed25519.PublicKey
		ok  bool
	}{
		"signed":                 {signed, public(signer(1)), true},
		"signed, nobody asks":    {signed, nil, true},
		"unsigned, nobody asks":  {plain, nil, true},
		"unsigned":               {plain, public(signer(1)), false},
		"by another key":         {signed, public(signer(2)), false},
		"with another image":     {edit(signed, "pay:1", "pay:9"), nil, false},
		"with another revision":  {edit(plain, `"rev":1`, `"rev":2`), nil, false},
		"cut":                    {signed[:len(signed)/2], nil, false},
		"with more":              {append(bytes.Clone(plain), "{}"...), nil, false},
		"with another signature": {edit(signed, `"value":"`, `"value":"AA`), nil, false},
		"signed again":           {resealed(signed), public(signer(1)), false},
		"no snapshot":            {[]byte("{}"), nil, false},
	} {
		got, err := plan.DecodeSnapshot(c.raw, c.key)
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.ok && !cmp.Equal(got.Live.Packages, s.Live.Packages):
			t.Errorf("%s: it was not read as it was written", name)
		case !c.ok && !errors.Is(err, oprc.ErrInvalid):
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}
