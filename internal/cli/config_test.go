package cli_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/cli"
)

func defaults() cli.Config {
	return cli.Config{
		Port: 8080, LogLevel: slog.LevelInfo, CRMEnabled: true, Interval: time.Minute,
		Redis:   cli.RedisConfig{Host: "localhost", Port: 6379, Name: "oaas_pm"},
		MQ:      cli.MQConfig{TopicPrefix: "oaas.pm", GroupID: "package-manager"},
		Metrics: cli.EndpointConfig{Endpoint: "/metrics"}, Health: cli.EndpointConfig{Endpoint: "/health"},
		Resend: cli.ResendConfig{First: 15 * time.Second, Max: 10 * time.Minute},
	}
}

func TestConfigLayers(t *testing.T) {
	tests := map[string]struct {
		file    string
		environ []string
		flags   []string
		want    func(*cli.Config)
	}{
		"defaults": {want: func(*cli.Config) {}},
		"every variable of the environment": {
			environ: []string{
				"OAAS_PM_CRM_ENABLED=false", "OAAS_PM_PORT=9000", "OAAS_PM_LOG_LEVEL=DEBUG", "OAAS_PM_DB_HOST=db", "OAAS_PM_DB_PORT=7000",
				"OAAS_PM_DB_NAME=n", "OAAS_PM_DB_USERNAME=u", "OAAS_PM_DB_PASSWORD=p", "OAAS_PM_MQ_BROKERS=db:7000",
				"OAAS_PM_MQ_TOPIC_PREFIX=t", "OAAS_PM_MQ_GROUP_ID=g", "OAAS_PM_METRICS_ENDPOINT=/m", "OAAS_PM_HEALTH_ENDPOINT=/h",
			},
			want: func(c *cli.Config) {
				c.CRMEnabled, c.Port, c.LogLevel = false, 9000, slog.LevelDebug
				c.Redis = cli.RedisConfig{Host: "db", Port: 7000, Name: "n", Username: "u", Password: "p"}
				c.MQ = cli.MQConfig{Brokers: "db:7000", TopicPrefix: "t", GroupID: "g"}
				c.Metrics.Endpoint, c.Health.Endpoint = "/m", "/h"
			},
		},
		"flags over environment over file": {
			file:    "port: 1\nlogLevel: ERROR\ninterval: 5s\n",
			environ: []string{"OAAS_PM_PORT=2", "OAAS_PM_LOG_LEVEL=WARN"},
			flags:   []string{"--port", "3"},
			want: func(c *cli.Config) {
				c.Port, c.LogLevel, c.Interval = 3, slog.LevelWarn, 5*time.Second
			},
		},
		"an empty variable says nothing": {
			file: "port: 1\n", environ: []string{"OAAS_PM_PORT="},
			want: func(c *cli.Config) { c.Port = 1 },
		},
		"a host from the environment over a URL from the file": {
			file: "redis: {url: 'redis://file:1/0'}\n", environ: []string{"OAAS_PM_DB_HOST=db"},
			want: func(c *cli.Config) { c.Redis.Host = "db" },
		},
		"variables that Kubernetes makes for a service": {
			environ: []string{"OAAS_PM_SERVICE_HOST=10.0.0.1", "OAAS_PM_PORT_8080_TCP=tcp://10.0.0.1:8080"},
			want:    func(*cli.Config) {},
		},
		"sources with their defaults": {
			file: "interval: 30s\nsources:\n- {name: main, url: 'https://git.example/x', path: apps}\n" +
				"- {name: two, url: /srv/x, interval: 2m, prune: false, heal: false, track: false, maxDelete: 0, suspend: true, ref: prod}\n",
			want: func(c *cli.Config) {
				c.Interval = 30 * time.Second
				c.Sources = []cli.SourceConfig{
					{Name: "main", URL: "https://git.example/x", Path: "apps", Interval: 30 * time.Second, Prune: true, MaxDelete: 10, MaxDeletePercent: 20, Heal: true, Track: true},
					{Name: "two", URL: "/srv/x", Ref: "prod", Interval: 2 * time.Minute, MaxDeletePercent: 20, Suspend: true},
				}
			},
		},
		"how to get at a repository": {
			file: "sources:\n- {name: main, url: 'https://git.example/x', ignore: ['*.tmp'], username: bot, tokenEnv: T, passwordEnv: P, sshKeyFile: /k,\n" +
				"   sshPassphraseEnv: S, knownHosts: [/h], caFile: /c, proxy: 'http://proxy:1'}\n",
			want: func(c *cli.Config) {
				c.Sources = []cli.SourceConfig{{
					Name: "main", URL: "https://git.example/x", Ignore: []string{"*.tmp"}, Interval: time.Minute, Prune: true, MaxDelete: 10, MaxDeletePercent: 20, Heal: true, Track: true,
					AccessConfig: cli.AccessConfig{
						Username: "bot", TokenEnv: "T", PasswordEnv: "P", SSHKeyFile: "/k", SSHPassphraseEnv: "S",
						KnownHosts: []string{"/h"}, CAFile: "/c", Proxy: "http://proxy:1",
					},
				}}
			},
		},
		"when commands go out again": {
			file: "resend: {first: 1m}\n",
			want: func(c *cli.Config) { c.Resend.First = time.Minute },
		},
		"environments": {
			file: "environments:\n- {name: edge, availability: 0.9}\n",
			want: func(c *cli.Config) {
				c.Environments = []map[string]any{{"name": "edge", "availability": 0.9}}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cli.LoadConfig(configFile(t, tt.file), tt.environ, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			tt.want(&want)
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	tests := map[string]struct {
		file    string
		environ []string
		want    string
	}{
		"unknown key":             {file: "prot: 1\n", want: "prot"},
		"unknown key in a source": {file: "sources: [{name: a, url: b, intervall: 1s}]\n", want: "sources[0].intervall"},
		"bad value":               {file: "port: soon\n", want: "port"},
		"bad duration":            {file: "sources: [{name: a, url: b, interval: 5 parsecs}]\n", want: "sources[0].interval: expected a duration such as 30s or 5m"},
		"two bad values":          {file: "port: soon\nlogLevel: [x]\n", want: "logLevel: expected another kind of value, got a list; port: expected a number"},
		"short interval":          {file: "interval: 10ms\n", want: "interval: 10ms"},
		"hasty resend":            {file: "resend: {first: 10ms}\n", want: "resend.first: 10ms"},
		"resend that shrinks":     {file: "resend: {max: 5s}\n", want: "resend.max: 5s is shorter than resend.first, which is 15s"},
		"profiles for everybody":  {file: "pprof: 0.0.0.0:6060\n", want: "pprof: \"0.0.0.0:6060\" is not a port of the loopback interface"},
		"bad port":                {file: "port: 70000\n", want: "port: 70000"},
		"source without a URL":    {file: "sources: [{name: a}]\n", want: "sources[0].url"},
		"two sources of one name": {file: "sources: [{name: a, url: b}, {name: a, url: c}]\n", want: "sources[1].name"},
		"token in the clear":      {file: "security: {tokens: [hunter2]}\n", want: "security.tokens[0]"},
		"not YAML":                {file: "port: [\n", want: "oprc.yaml"},
		"unknown variable":        {environ: []string{"OAAS_PM_PROT=1"}, want: "OAAS_PM_PROT"},
		"bad variable":            {environ: []string{"OAAS_PM_PORT=soon"}, want: "OAAS_PM_PORT"},
		"bad log level":           {environ: []string{"OAAS_PM_LOG_LEVEL=LOUD"}, want: "OAAS_PM_LOG_LEVEL"},
		"bad switch":              {environ: []string{"OAAS_PM_CRM_ENABLED=maybe"}, want: "OAAS_PM_CRM_ENABLED"},
		"another broker":          {environ: []string{"OAAS_PM_MQ_BROKERS=kafka:9092"}, want: "mq.brokers"},
		"braces in a key prefix":  {environ: []string{"OAAS_PM_DB_NAME=a{b}"}, want: "redis.name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := cli.LoadConfig(configFile(t, tt.file), tt.environ, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that names %s", err, tt.want)
			}
		})
	}
}

// configFile returns the path of an oprc.yaml, or "" for no content.
func configFile(t *testing.T, content string) string {
	t.Helper()
	if content == "" {
		return ""
	}
	path := filepath.Join(t.TempDir(), "oprc.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
