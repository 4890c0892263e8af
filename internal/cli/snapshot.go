package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

type snapshotOptions struct {
	*env
	out, key string
	mask     []string
}

func newSnapshot(e *env) *cobra.Command {
	o := &snapshotOptions{env: e}
	cmd := &cobra.Command{
		Use:   "snapshot --out FILE",
		Short: "Save live state to a file, to plan offline",
		Long: `Writes live state to a file that "oprc plan --against FILE" plans on without any
connection: in the CI of a fork, say, which has no credentials.

Secrets are replaced by keyed hashes, so that a plan still shows that one changes,
but not what it is. With --key the file is signed: openssl genpkey -algorithm
ed25519 makes a key, openssl pkey -pubout the public half for --verify-key.` +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitDenied, exitUsage),
		Example: `  oprc snapshot --out live.snapshot --key signing.pem`,
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&o.out, "out", "", "`file` to write")
	cmd.Flags().StringVar(&o.key, "key", "", "ed25519 private key to sign with, a PEM `file`")
	_ = cmd.MarkFlagRequired("out")
	bindMask(cmd, &o.mask)
	return cmd
}

func (o *snapshotOptions) run(ctx context.Context) error {
	var key ed25519.PrivateKey
	if o.key != "" {
		var err error
		if key, err = privateKey(o.key); err != nil {
			return err
		}
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	return o.with(ctx, func(s *state) error {
		taken, err := s.Snapshot(ctx, plan.Redaction{Mask: o.mask, Salt: hex.EncodeToString(salt)})
		if err != nil {
			return err
		}
		raw, err := taken.Encode(key)
		if err != nil {
			return err
		}
		if err := o.save(o.out, raw, 0o600); err != nil {
			return fmt.Errorf("save snapshot: %w", err)
		}
		o.hint(fmt.Sprintf("Packages: %d, environments: %d. Plan against them with: oprc plan -f PATH --against %s",
			len(taken.Live.Packages), len(taken.Live.Environments), quote(o.out)))
		return nil
	})
}

func privateKey(path string) (ed25519.PrivateKey, error) {
	return readKey[ed25519.PrivateKey](path, "PRIVATE KEY", x509.ParsePKCS8PrivateKey)
}

func publicKey(path string) (ed25519.PublicKey, error) {
	return readKey[ed25519.PublicKey](path, "PUBLIC KEY", x509.ParsePKIXPublicKey)
}

// readKey reads a key from a PEM file.
func readKey[K any](path, kind string, parse func([]byte) (any, error)) (K, error) {
	var none K
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return none, fmt.Errorf("key file %s: %w", path, oprc.ErrNotFound)
	}
	if err != nil {
		return none, fmt.Errorf("key file: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return none, fmt.Errorf("%w key file %s: it holds no PEM block %q", oprc.ErrInvalid, path, kind)
	}
	key, err := parse(block.Bytes)
	if err != nil {
		return none, fmt.Errorf("%w key file %s: %w", oprc.ErrInvalid, path, err)
	}
	k, ok := key.(K)
	if !ok {
		return none, fmt.Errorf("%w key file %s: it holds no ed25519 key", oprc.ErrInvalid, path)
	}
	return k, nil
}

// againstOptions make plan look at a snapshot.
type againstOptions struct {
	file, key string
}

func (o *againstOptions) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.file, "against", "", "plan against a snapshot `file` instead of live state, without a connection")
	cmd.Flags().StringVar(&o.key, "verify-key", "", "ed25519 public key that must have signed the snapshot, a PEM `file`")
}

// snapshot reads the snapshot.
func (o *againstOptions) snapshot() (*plan.Snapshot, error) {
	var key ed25519.PublicKey
	if o.key != "" {
		var err error
		if key, err = publicKey(o.key); err != nil {
			return nil, err
		}
	}
	raw, err := os.ReadFile(o.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("snapshot file %s: %w", o.file, oprc.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot file: %w", err)
	}
	s, err := plan.DecodeSnapshot(raw, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	return s, nil
}

// snapshotState is a state that can be planned on, and nothing else.
type snapshotState struct {
	control
	reconciler *reconcile.Reconciler
	snapshot   *plan.Snapshot
}

func (s snapshotState) Plan(ctx context.Context, req reconcile.Request) (*plan.Plan, error) {
	return s.reconciler.PlanAgainst(ctx, s.snapshot, req)
}

// on opens what plan compares with: live state, or the snapshot.
func (o *planOptions) on(ctx context.Context, use func(*state) error) error {
	switch {
	case o.against.file == "" && o.against.key != "":
		return usagef("--verify-key is for --against")
	case o.against.file == "":
		return o.with(ctx, use)
	case o.server != "" || o.redis != "":
		return usagef("--against plans without a connection: leave out --server and --redis")
	}
	s, err := o.against.snapshot()
	if err != nil {
		return err
	}
	o.hint("Planned against live state as it was at " + s.Taken.UTC().Format(time.RFC3339) + ".")
	r := &reconcile.Reconciler{Load: schema.Load, Now: o.now}
	r.Judge = o.policy.judge
	return use(&state{control: snapshotState{reconciler: r, snapshot: s}, where: "snapshot " + o.against.file})
}
