package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// Config is what the daemon is told: flags over environment over oprc.yaml over
// defaults. One-shot commands use its Redis part, from the environment alone.
type Config struct {
	Port       int            `koanf:"port"`
	Listen     string         `koanf:"listen"` // address, with or without a port; "": all, or loopback where callers are not known
	Limits     LimitsConfig   `koanf:"limits"`
	MaxUnits   plan.MaxUnits  `koanf:"maxUnits"` // that packages may ask for
	LogLevel   slog.Level     `koanf:"logLevel"`
	CRMEnabled bool           `koanf:"crmEnabled"` // false: nothing is dispatched
	Interval   time.Duration  `koanf:"interval"`   // between polls of a source that says nothing else
	Redis      RedisConfig    `koanf:"redis"`
	MQ         MQConfig       `koanf:"mq"`
	Metrics    EndpointConfig `koanf:"metrics"`
	Health     EndpointConfig `koanf:"health"`
	Security   SecurityConfig `koanf:"security"`
	Pprof      string         `koanf:"pprof"` // loopback address for profiles; "": none
	Traces     TracesConfig   `koanf:"traces"`
	Resend     ResendConfig   `koanf:"resend"`
	Sources    []SourceConfig `koanf:"sources"`
	// Policies are CUE files of transition policies, or patterns of such, relative
	// to the configuration's directory.
	Policies []string `koanf:"policies"`
	// Environments are environment documents, checked as packages are.
	Environments []map[string]any `koanf:"environments"`
}

// RedisConfig says where the state is. URL wins over host and port.
type RedisConfig struct {
	URL      string `koanf:"url"`
	Host     string `koanf:"host"`
	Port     int    `koanf:"port"`
	Name     string `koanf:"name"` // prefix of all keys
	Username string `koanf:"username"`
	Password string `koanf:"password"`
}

// MQConfig says how the streams are called. They live in the same Redis as the
// state, so that a record and its command are written together.
type MQConfig struct {
	Brokers     string `koanf:"brokers"`
	TopicPrefix string `koanf:"topicPrefix"`
	GroupID     string `koanf:"groupId"`
}

// EndpointConfig is the path of an HTTP endpoint.
type EndpointConfig struct {
	Endpoint string `koanf:"endpoint"`
}

// TracesConfig says where spans go. The variables of OpenTelemetry win.
type TracesConfig struct {
	Endpoint string `koanf:"endpoint"` // URL of a collector that takes OTLP over HTTP; "": no traces
}

// ResendConfig says when a command that no CRM has answered goes out again.
type ResendConfig struct {
	First time.Duration `koanf:"first"` // the pauses double from this
	Max   time.Duration `koanf:"max"`   // up to this
}

// SourceConfig is a Git repository or a directory that says what should run.
type SourceConfig struct {
	Name      string        `koanf:"name"`
	URL       string        `koanf:"url"`
	Ref       string        `koanf:"ref"`    // branch, tag, range of versions, or commit; "" is the repository's default
	Path      string        `koanf:"path"`   // directory, file or pattern inside it
	Ignore    []string      `koanf:"ignore"` // gitignore patterns of files not to read
	Interval  time.Duration `koanf:"interval"`
	Prune     bool          `koanf:"prune"`     // default true
	MaxDelete int           `koanf:"maxDelete"` // default 10

	// MaxDeletePercent and MaxBlast hold more plans for an approval: those that delete more
	// than MaxDelete and than this share, and those that touch more than MaxBlast percent
	// of the source's running units; 0 means any.
	MaxDeletePercent float64 `koanf:"maxDeletePercent"` // default 20
	MaxBlast         float64 `koanf:"maxBlast"`
	Heal             bool    `koanf:"heal"`  // default true
	Track            bool    `koanf:"track"` // default true; false: new revisions wait for oprc source reconcile
	Suspend          bool    `koanf:"suspend"`

	// TakeOwnership lets the source take over packages and environments that the command
	// line, the API or another source owns.
	TakeOwnership bool `koanf:"takeOwnership"`

	// WebhookSecretEnv names the variable with the secret of POST /hooks/NAME; without
	// it there is no such route.
	WebhookSecretEnv string `koanf:"webhookSecretEnv"`
	// WebhookOldSecretEnv names the variable with a second secret, which is good as well:
	// the former one, until all senders have the new one.
	WebhookOldSecretEnv string `koanf:"webhookOldSecretEnv"`

	// Verify lists files with public keys, PGP's or SSH's: commits by others are refused.
	Verify *VerifyConfig `koanf:"verify"`
	// Notify says whom to tell what became of a commit.
	Notify []NotifyConfig `koanf:"notify"`

	AccessConfig `koanf:",squash"`
}

// NotifyConfig is a forge that takes commit statuses, or a webhook.
type NotifyConfig struct {
	Type      string `koanf:"type"`      // github, gitlab, gitea or webhook
	URL       string `koanf:"url"`       // of the webhook, or of the forge's API; "": as the source's URL suggests
	TokenEnv  string `koanf:"tokenEnv"`  // of a forge
	SecretEnv string `koanf:"secretEnv"` // of a webhook
}

// VerifyConfig says who may sign.
type VerifyConfig struct {
	Keys []string `koanf:"keys"`
}

// AccessConfig says how to get at a repository. A key that ends in Env holds the
// name of an environment variable: secrets are not written into the file.
type AccessConfig struct {
	Username         string   `koanf:"username"` // https; with a token it may be left out
	PasswordEnv      string   `koanf:"passwordEnv"`
	TokenEnv         string   `koanf:"tokenEnv"`
	SSHKeyFile       string   `koanf:"sshKeyFile"` // "": the agent
	SSHPassphraseEnv string   `koanf:"sshPassphraseEnv"`
	KnownHosts       []string `koanf:"knownHosts"` // files; empty: the user's and the system's
	CAFile           string   `koanf:"caFile"`     // PEM, besides the system's
	Proxy            string   `koanf:"proxy"`      // URL; "": as the environment says
}

func defaultConfig() map[string]any {
	return map[string]any{
		"port": 8080, "logLevel": "INFO", "crmEnabled": true, "interval": "1m",
		"redis.host": "localhost", "redis.port": 6379, "redis.name": "oaas_pm",
		"mq.topicPrefix": "oaas.pm", "mq.groupId": "package-manager",
		"metrics.endpoint": "/metrics", "health.endpoint": "/health",
		"resend.first": loop.ResendFirst.String(), "resend.max": loop.ResendMax.String(),
	}
}

// defaultSource fills in what a source does not say.
func defaultSource(src map[string]any, interval any) {
	for key, value := range map[string]any{"prune": true, "heal": true, "track": true, "maxDelete": 10, "maxDeletePercent": 20.0, "interval": interval} {
		if _, said := src[key]; !said {
			src[key] = value
		}
	}
}

// redisOptions are the options for opening the state.
func (c Config) redisOptions() rdb.Options {
	o := rdb.Options{URL: c.Redis.URL, Keys: rdb.Keys{N: c.Redis.Name, T: c.MQ.TopicPrefix}, Group: c.MQ.GroupID}
	if o.URL == "" {
		o.URL = "redis://" + net.JoinHostPort(c.Redis.Host, strconv.Itoa(c.Redis.Port)) + "/0"
	}
	if !strings.Contains(o.URL, "@") {
		o.Username, o.Password = c.Redis.Username, c.Redis.Password
	}
	return o
}

// digest is of what all daemons on one ledger must agree on: what is to run, and how. Where
// they listen, and how they get at repositories, may differ.
func (c Config) digest(dir string) (string, error) {
	shared := c
	shared.Port, shared.Listen, shared.Pprof, shared.LogLevel, shared.Limits, shared.Traces = 0, "", "", 0, LimitsConfig{}, TracesConfig{}
	shared.Redis, shared.Metrics, shared.Health, shared.Security = RedisConfig{Name: c.Redis.Name}, EndpointConfig{}, EndpointConfig{}, SecurityConfig{}
	shared.MQ.Brokers, shared.Interval, shared.Policies = "", 0, nil
	shared.Sources = slices.Clone(c.Sources)
	keys := map[string]string{}
	for i := range shared.Sources {
		s := &shared.Sources[i]
		s.URL, s.Interval, s.WebhookSecretEnv, s.WebhookOldSecretEnv, s.Notify, s.AccessConfig = redacted(s.URL), 0, "", "", nil, AccessConfig{}
		if s.Verify == nil {
			continue
		}
		for _, name := range s.Verify.Keys {
			data, err := os.ReadFile(name)
			if err != nil {
				return "", fmt.Errorf("source %s: verify.keys: %w", s.Name, err)
			}
			keys[s.Name] += oprc.DigestBytes(data)
		}
		s.Verify = &VerifyConfig{}
	}
	files, err := policyFiles(dir, c.Policies)
	if err != nil {
		return "", err
	}
	sums := make([]string, 0, len(files))
	for _, f := range files {
		sums = append(sums, oprc.DigestBytes(f.Data))
	}
	return shortRevision(oprc.Digest(map[string]any{"config": shared, "keys": keys, "policies": sums})), nil
}

// EnvironmentFiles are the environments as documents for the one validator.
func (c Config) EnvironmentFiles() ([]oprc.File, error) {
	out := make([]oprc.File, len(c.Environments))
	for i, doc := range c.Environments {
		doc["kind"] = oprc.KindEnvironment
		data, err := oprc.Canonical(doc)
		if err != nil {
			return nil, fmt.Errorf("environments[%d]: %w", i, err)
		}
		out[i] = oprc.File{Path: fmt.Sprintf("environments[%d]", i), Data: data}
	}
	return out, nil
}

// check refuses values that no start could work with. Every error names its key.
func (c Config) check() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Port >= 0 && c.Port < 1<<16, "port: %d is not a port", c.Port)
	bad(c.Redis.Port > 0 && c.Redis.Port < 1<<16, "redis.port: %d is not a port", c.Redis.Port)
	bad(c.Redis.Name != "" && !strings.ContainsAny(c.Redis.Name, "{}"), "redis.name: %q must be a name without braces", c.Redis.Name)
	bad(c.MQ.TopicPrefix != "" && !strings.ContainsAny(c.MQ.TopicPrefix, "{}"), "mq.topicPrefix: %q must be a name without braces", c.MQ.TopicPrefix)
	bad(c.MQ.GroupID != "", "mq.groupId: must not be empty")
	bad(c.Interval >= time.Second, "interval: %s is shorter than 1s", c.Interval)
	bad(c.Resend.First >= time.Second, "resend.first: %s is shorter than 1s", c.Resend.First)
	bad(c.Resend.Max >= c.Resend.First, "resend.max: %s is shorter than resend.first, which is %s", c.Resend.Max, c.Resend.First)
	bad(strings.HasPrefix(c.Metrics.Endpoint, "/"), "metrics.endpoint: %q must start with /", c.Metrics.Endpoint)
	bad(strings.HasPrefix(c.Health.Endpoint, "/"), "health.endpoint: %q must start with /", c.Health.Endpoint)
	bad(c.sameBroker(), "mq.brokers: %q is not the Redis of the state; streams live beside the records that they are about", c.MQ.Brokers)
	if _, err := c.Security.access(time.Now); err != nil {
		errs = append(errs, err)
	}
	bad(c.MaxUnits.Class >= 0 && c.MaxUnits.Package >= 0 && c.MaxUnits.Plan >= 0, "maxUnits: %+v: a limit is negative", c.MaxUnits)
	errs = append(errs, checkPprof(c.Pprof), c.Traces.check())
	if err := c.Limits.check(); err != nil {
		errs = append(errs, err)
	}
	var names []string
	for i, s := range c.Sources {
		at := fmt.Sprintf("sources[%d]", i)
		bad(oprc.ValidName(s.Name), "%s.name: %q is not a name", at, s.Name)
		bad(!slices.Contains(names, s.Name), "%s.name: %q is there twice", at, s.Name)
		bad(s.URL != "", "%s.url: missing", at)
		bad(s.Interval >= time.Second, "%s.interval: %s is shorter than 1s", at, s.Interval)
		bad(s.Verify == nil || len(s.Verify.Keys) > 0, "%s.verify.keys: missing; list at least one file with public keys", at)
		bad(s.MaxDelete >= 0, "%s.maxDelete: %d is negative", at, s.MaxDelete)
		bad(s.MaxDeletePercent >= 0 && s.MaxDeletePercent <= 100, "%s.maxDeletePercent: %g is no share from 0 to 100", at, s.MaxDeletePercent)
		bad(s.MaxBlast >= 0 && s.MaxBlast <= 100, "%s.maxBlast: %g is no share from 0 to 100", at, s.MaxBlast)
		names = append(names, s.Name)
	}
	return errors.Join(errs...)
}

// sameBroker reports whether the brokers are the Redis of the state, or not set.
func (c Config) sameBroker() bool {
	if c.MQ.Brokers == "" || c.MQ.Brokers == c.Redis.URL {
		return true
	}
	at := net.JoinHostPort(c.Redis.Host, strconv.Itoa(c.Redis.Port))
	if u, err := url.Parse(c.Redis.URL); err == nil && c.Redis.URL != "" {
		at = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	}
	broker := c.MQ.Brokers
	if u, err := url.Parse(broker); err == nil && u.Host != "" {
		broker = u.Host
	}
	return broker == at
}
