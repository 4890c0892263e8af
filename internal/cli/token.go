package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/view"
)

// tokens is what the commands ask of where tokens are kept: a server, or Redis.
type tokens interface {
	MakeToken(ctx context.Context, t rest.Token) (rest.NewToken, error)
	ListTokens(ctx context.Context) ([]rest.Token, error)
	RevokeToken(ctx context.Context, name string) error
}

// storedTokens are those in Redis.
type storedTokens struct {
	rest.TokenStore
	now func() time.Time
	by  string
}

func (s storedTokens) MakeToken(ctx context.Context, t rest.Token) (rest.NewToken, error) {
	t.By = s.by
	made, err := rest.MakeToken(t, s.now())
	if err != nil {
		return made, err
	}
	doc, err := json.Marshal(made.Token)
	if err != nil {
		return made, fmt.Errorf("encode token: %w", err)
	}
	return made, s.PutToken(ctx, made.Name, doc)
}

func (s storedTokens) ListTokens(ctx context.Context) ([]rest.Token, error) {
	docs, err := s.Tokens(ctx)
	return rest.ReadTokens(docs), err
}

func (s storedTokens) RevokeToken(ctx context.Context, name string) error {
	return s.DropToken(ctx, name)
}

// tokens opens where tokens are kept.
func (e *env) tokens(s *state) tokens {
	if client, ok := s.control.(*rest.Client); ok {
		return client
	}
	return storedTokens{s.db, e.now, e.actor().Name}
}

type tokenOptions struct {
	*env
	role    string
	expires time.Duration
	limits  rest.Limits
}

func newToken(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke tokens of the HTTP API",
		Long: `Tokens are bearer tokens of the HTTP API. Their SHA-256 sums are stored in Redis and
apply to every daemon; a daemon accepts them if its configuration has
"security: {required: true}", or names tokens, OpenID Connect or client certificates.` + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newTokenCreate(e), newTokenList(e), newTokenRevoke(e))
	return cmd
}

func newTokenCreate(e *env) *cobra.Command {
	o := &tokenOptions{env: e}
	cmd := &cobra.Command{
		Use:   "create NAME --role ROLE",
		Short: "Create a token and print it once",
		Long: "Creates a token and prints it on stdout. It cannot be read again.\n\nRoles: viewer, planner, editor, approver, admin; each includes those before it." +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitUnavailable, exitDenied, exitUsage),
		Example: `  oprc token create ci --role planner --expires 2160h
  oprc token create edge-team --role editor --env 'edge-*' --package 'edge.*'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.create(cmd.Context(), s, words[0]) })
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.role, "role", "", "`role` of its holder")
	fs.DurationVar(&o.expires, "expires", 0, "`time` after which it is not accepted any more (default: never)")
	fs.StringSliceVar(&o.limits.Packages, "package", nil, "`patterns` of the packages that its holder may see and change (default: all)")
	fs.StringSliceVar(&o.limits.Environments, "env", nil, "`patterns` of the environments that its holder may see and change (default: all)")
	fs.StringSliceVar(&o.limits.Origins, "origin", nil, "`patterns` of the origins in whose name its holder may write (default: cli, api)")
	_ = cmd.MarkFlagRequired("role")
	completeValues(cmd, "role", string(rest.Viewer), string(rest.Planner), string(rest.Editor), string(rest.Approver), string(rest.Admin))
	return cmd
}

func (o *tokenOptions) create(ctx context.Context, s *state, name string) error {
	role, err := rest.ParseRole(o.role)
	if err != nil {
		return usageError{err}
	}
	t := rest.Token{Name: name, Role: role, Limits: o.limits}
	if o.expires != 0 {
		t.Expires = o.now().Add(o.expires).UTC().Truncate(time.Second)
	}
	made, err := o.tokens(s).MakeToken(ctx, t)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(o.out, made.Secret); err != nil {
		return err
	}
	o.hint(fmt.Sprintf("Token %s with the role %s. It is not shown again; commands with --server send what is in OPRC_TOKEN.", name, role))
	return nil
}

func newTokenList(e *env) *cobra.Command {
	var format view.Format
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens, without their values",
		Long:    "Lists names, roles, limits and expiry times of tokens." + exits(exitOK, exitError, exitUnavailable, exitDenied, exitUsage),
		Example: "  oprc token list\n  oprc token list -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.with(cmd.Context(), func(s *state) error {
				all, err := e.tokens(s).ListTokens(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]view.Token, len(all))
				for i, t := range all {
					all[i].Hash = ""
					rows[i] = view.Token{
						Name: t.Name, Role: string(t.Role), Created: t.Created, Expires: t.Expires, By: t.By,
						Packages: t.Packages, Environments: t.Environments, Origins: t.Origins,
					}
				}
				return e.output(format).Tokens(rows, map[string]any{"formatVersion": view.FormatVersion, "items": all})
			})
		},
	}
	bindOutput(cmd, &format, view.Text, view.Wide, view.JSON, view.YAML, view.Name)
	return cmd
}

func newTokenRevoke(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "Revoke a token",
		Long:    "Revokes a token. Daemons refuse it within two seconds." + exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage),
		Example: "  oprc token revoke ci",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			return e.with(cmd.Context(), func(s *state) error { return e.tokens(s).RevokeToken(cmd.Context(), words[0]) })
		},
	}
}

// printJSON prints what has no table.
func (e *env) printJSON(v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.out, string(raw))
	return err
}

func newAuth(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use: "auth", Short: "Show your identity and permissions on the server",
		Long: "Asks a server (--server, or the current context) about the caller." + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(&cobra.Command{
		Use: "whoami", Short: "Show name, role and limits as JSON",
		Long:    "Prints the caller's name, role and limits, as JSON." + exits(exitOK, exitError, exitUnavailable, exitDenied, exitUsage),
		Example: "  oprc --server https://oprc.example auth whoami",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.with(cmd.Context(), func(s *state) error {
				client, err := s.server()
				if err != nil {
					return err
				}
				who, err := client.WhoAmI(cmd.Context())
				if err != nil {
					return err
				}
				return e.printJSON(who)
			})
		},
	}, &cobra.Command{
		Use: "can-i VERB KIND [NAME]", Short: "Say whether you may do something",
		Long:    "Prints yes or no with the reason; no ends with exit code 9." + exits(exitOK, exitError, exitUnavailable, exitDenied, exitUsage),
		Example: "  oprc --server https://oprc.example auth can-i apply package shop",
		Args:    args(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if k, err := parseKind(words[1]); err == nil { // packages is package
				words[1] = string(k.kind)
			}
			return e.with(cmd.Context(), func(s *state) error {
				client, err := s.server()
				if err != nil {
					return err
				}
				p, err := client.CanI(cmd.Context(), words[0], words[1], append(words, "")[2])
				if err != nil {
					return err
				}
				if !p.Allowed {
					return fmt.Errorf("no: %s: %w", p.Reason, rest.ErrDenied)
				}
				_, err = fmt.Fprintln(e.out, "yes: "+p.Reason)
				return err
			})
		},
	})
	return cmd
}

// server is the server that the state is reached through.
func (s *state) server() (*rest.Client, error) {
	if client, ok := s.control.(*rest.Client); ok {
		return client, nil
	}
	return nil, usagef("only a server knows who calls: name it with --server URL")
}
