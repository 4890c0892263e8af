package cli

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	envprovider "github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/view"
)

// A variable is an environment variable and the key that it sets.
type variable struct {
	name, key string
	parse     func(string) error // refuses a bad value
}

func variables() []variable {
	text := func(string) error { return nil }
	number := func(s string) error { _, err := strconv.Atoi(s); return err }
	boolean := func(s string) error { _, err := strconv.ParseBool(s); return err }
	return []variable{
		{"OAAS_PM_CRM_ENABLED", "crmEnabled", boolean},
		{"OAAS_PM_PORT", "port", number},
		{"OAAS_PM_LOG_LEVEL", "logLevel", parseLevel},
		{"OAAS_PM_DB_HOST", "redis.host", text},
		{"OAAS_PM_DB_PORT", "redis.port", number},
		{"OAAS_PM_DB_NAME", "redis.name", text},
		{"OAAS_PM_DB_USERNAME", "redis.username", text},
		{"OAAS_PM_DB_PASSWORD", "redis.password", text},
		{"OPRC_REDIS_URL", "redis.url", text},
		{"OAAS_PM_MQ_BROKERS", "mq.brokers", text},
		{"OAAS_PM_MQ_TOPIC_PREFIX", "mq.topicPrefix", text},
		{"OAAS_PM_MQ_GROUP_ID", "mq.groupId", text},
		{"OAAS_PM_METRICS_ENDPOINT", "metrics.endpoint", text},
		{"OAAS_PM_HEALTH_ENDPOINT", "health.endpoint", text},
	}
}

// serviceLinks are the variables that Kubernetes makes for a Service named oaas-pm.
var serviceLinks = lazyregexp.New(`^OAAS_PM_(SERVICE_|PORT_[0-9]+_)`)

// loadConfig reads all layers. path is oprc.yaml, or "" for none; flags are those
// of [bindConfig], or nil.
func loadConfig(path string, environ []string, flags *pflag.FlagSet) (Config, error) {
	k := koanf.New(".")
	for key, value := range defaultConfig() {
		_ = k.Set(key, value) // fails only for a bad delimiter
	}
	if path != "" {
		if err := k.Load(file.Provider(path), settings{}); err != nil {
			return Config{}, fmt.Errorf("configuration %s: %w", path, unwrapPath(err))
		}
		if err := wellFormed(k); err != nil {
			return Config{}, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if err := loadEnviron(k, environ); err != nil {
		return Config{}, err
	}
	if flags != nil {
		if err := k.Load(posflag.ProviderWithFlag(flags, ".", k, changedFlag(flags)), nil); err != nil {
			return Config{}, fmt.Errorf("configuration: %w", err)
		}
	}
	var c Config
	if err := decodeConfig(k, &c); err != nil {
		return Config{}, err
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// unwrapPath drops the path that os errors carry: the caller names it.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// settings reads YAML for koanf.
type settings struct{}

func (settings) Unmarshal(data []byte) (map[string]any, error) { return view.DecodeSettings(data) }
func (settings) Marshal(m map[string]any) ([]byte, error)      { return view.EncodeYAML(m) }

// wellFormed checks the file's layer alone, so that errors name the file.
func wellFormed(k *koanf.Koanf) error {
	var c Config
	return decodeConfig(k.Copy(), &c)
}

func loadEnviron(k *koanf.Koanf, environ []string) error {
	known := variables()
	var errs []error
	opt := envprovider.Opt{
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			i := slices.IndexFunc(known, func(v variable) bool { return v.name == name })
			switch {
			case i < 0 && strings.HasPrefix(name, "OAAS_PM_") && !serviceLinks().MatchString(name):
				errs = append(errs, fmt.Errorf("environment: unknown variable %s", name))
				return "", nil
			case i < 0 || value == "":
				return "", nil
			}
			if known[i].parse(value) != nil {
				errs = append(errs, fmt.Errorf("environment: %s: bad value %q", name, value))
			}
			return known[i].key, value
		},
	}
	layer := koanf.New(".")
	if err := layer.Load(envprovider.Provider(".", opt), nil); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	if layer.Exists("redis.host") && !layer.Exists("redis.url") {
		k.Delete("redis.url") // the file's: a host from the environment is over it
	}
	if err := k.Merge(layer); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	return errors.Join(errs...)
}

// changedFlag maps the flags that were given to their keys.
func changedFlag(flags *pflag.FlagSet) func(*pflag.Flag) (string, any) {
	keys := map[string]string{"port": "port", "listen": "listen", "log-level": "logLevel", "interval": "interval", "pprof": "pprof"}
	return func(f *pflag.Flag) (string, any) {
		key, ok := keys[f.Name]
		if !ok || !f.Changed {
			return "", nil
		}
		return key, posflag.FlagVal(flags, f)
	}
}

// bindConfig adds the flags that override the configuration.
func bindConfig(flags *pflag.FlagSet) {
	flags.Int("port", 8080, "`port` of the REST interface; 0 takes a free one")
	flags.String("listen", "", "`address` to listen on (default: all where the configuration says who may, else loopback)")
	flags.String("log-level", "INFO", "`level` of the log: DEBUG, INFO, WARN, ERROR")
	flags.String("pprof", "", "`address` on loopback to serve profiles on for go tool pprof, such as 127.0.0.1:6060 (default: none)")
	flags.Duration("interval", time.Minute, "default `time` between polls of a source")
}

// decodeConfig turns the layers into c; unknown keys and bad values are errors
// that name the key.
func decodeConfig(k *koanf.Koanf, c *Config) error {
	if sources, ok := k.Get("sources").([]any); ok {
		for _, s := range sources {
			if m, ok := s.(map[string]any); ok {
				defaultSource(m, k.Get("interval"))
			}
		}
		if err := k.Set("sources", sources); err != nil { // Get gave a copy
			return err
		}
	}
	var meta mapstructure.Metadata
	err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Metadata: &meta, Result: c, TagName: "koanf", WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			plainToken, mapstructure.StringToTimeDurationHookFunc(), mapstructure.TextUnmarshallerHookFunc()),
	}})
	if err != nil {
		faults := badValues(err)
		slices.Sort(faults)
		return errors.New(strings.Join(faults, "; "))
	}
	if len(meta.Unused) > 0 {
		slices.Sort(meta.Unused)
		return fmt.Errorf("unknown key %s", strings.Join(meta.Unused, ", "))
	}
	return nil
}

// badValues says of each value that could not be decoded which it is and what is
// expected there, without showing it: it may be a password.
func badValues(err error) []string {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var out []string
		for _, e := range joined.Unwrap() {
			out = append(out, badValues(e)...)
		}
		return out
	}
	at, ok := errors.AsType[*mapstructure.DecodeError](err)
	if !ok {
		return []string{err.Error()}
	}
	reason := at.Unwrap().Error()
	expected, parsed := errors.AsType[*mapstructure.ParseError](err)
	wrong, unfit := errors.AsType[*mapstructure.UnconvertibleTypeError](err)
	switch {
	case strings.HasPrefix(reason, "time: "):
		reason = "expected a duration such as 30s or 5m"
	case parsed && expected.Expected.Kind() == reflect.Bool:
		reason = "expected true or false"
	case parsed:
		reason = "expected a number"
	case unfit:
		reason = "expected another kind of value, got " + kindOfValue(wrong.Value)
	}
	return []string{at.Name() + ": " + reason}
}

func kindOfValue(v any) string {
	switch v.(type) {
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	case string:
		return "a text"
	case int, float64:
		return "a number"
	}
	return fmt.Sprintf("a value of type %T", v)
}
