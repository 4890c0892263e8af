package rest

import "github.com/prometheus/client_golang/prometheus"

// Describe tells ch of every metric there is, observed or not.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { m.registry.Describe(ch) }
