package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/view"
)

type envACLOptions struct {
	*env
	user   string
	sdk    bool
	output view.Format
}

func newEnvACL(e *env) *cobra.Command {
	o := &envACLOptions{env: e}
	cmd := &cobra.Command{
		Use:   "acl NAME",
		Short: "Print the Redis user that the CRMs of an environment need",
		Long: `Prints the ACL rules of a Redis user who can do what the CRMs of one environment
have to, and nothing else: neither in other environments nor in the catalogue.
Nothing is sent to Redis, and the environment need not exist. The user gets no
password: add one as >PASSWORD, or a certificate. The rules need Redis 7.

Scripts are not allowed: one that does not end stops the Redis for everybody. CRMs
made with the Go package crm, such as oprc crm run, need them: --sdk.` +
			exits(exitOK, exitError, exitInvalid, exitUsage),
		Example: `  oprc env acl cloud-1
  oprc env acl cloud-1 --sdk
  oprc env acl cloud-1 --user crm-cloud-1 | redis-cli
  oprc env acl cloud-1 -o json | jq -r '.rules[]'`,
		Args:              args(cobra.ExactArgs(1), oprc.KindEnv),
		ValidArgsFunction: e.completeNames(oprc.KindEnv),
		RunE:              func(_ *cobra.Command, words []string) error { return o.run(words[0]) },
	}
	cmd.Flags().StringVar(&o.user, "user", "", "`name` of the user (default: crm-NAME)")
	cmd.Flags().BoolVar(&o.sdk, "sdk", false, "also allow what CRMs made with the Go package crm need: scripts, and keys to share units")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *envACLOptions) run(name string) error {
	if !oprc.ValidName(name) {
		return usagef("%q is no name of an environment", name)
	}
	if o.user == "" {
		o.user = "crm-" + name
	}
	if strings.ContainsAny(o.user, " \t\r\n\"'") {
		return usagef("--user: %q is no name of a user", o.user)
	}
	c, err := loadConfig("", o.environ, nil)
	if err != nil {
		return err
	}
	rules := rdb.Keys{N: c.Redis.Name, T: c.MQ.TopicPrefix}.ACL(name, o.sdk)
	if o.output != view.Text {
		return o.env.output(o.output).Document(struct {
			FormatVersion string   `json:"formatVersion"`
			Environment   string   `json:"environment"`
			User          string   `json:"user"`
			Rules         []string `json:"rules"`
		}{view.FormatVersion, name, o.user, rules})
	}
	_, err = fmt.Fprintf(o.out, "ACL SETUSER %s on %s\n", o.user, strings.Join(rules, " "))
	return err
}
