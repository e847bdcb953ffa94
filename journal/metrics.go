package journal

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct{ failures prometheus.Counter }

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "muster_events_write_failures_total",
		Help: "Failed attempts to write events to disk.",
	})}
	if r == nil {
		return m, nil
	}
	if err := r.Register(m.failures); err != nil {
		return nil, fmt.Errorf("register the metrics of the journal: %w", err)
	}
	return m, nil
}
