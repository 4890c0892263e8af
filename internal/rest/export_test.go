package rest

import "github.com/prometheus/client_golang/prometheus"

// Describe tells ch of every metric there is, observed or not.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { m.registry.Describe(ch) }

// Hide is an answer without the environments of names that are beyond the patterns.
func Hide(answer string, names, patterns []string) (string, error) {
	raw, err := (&Identity{Limits: Limits{Environments: patterns}}).elsewhere(names).hide([]byte(answer))
	return string(raw), err
}
