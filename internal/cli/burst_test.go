package cli_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/oaas-platform/oprc/internal/cli"
)

// A burst of deliveries makes a source be polled at once, and once more when the burst may
// be over: none of them is lost.
func TestBurstOfDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polls []time.Duration
		began := time.Now()
		call := cli.NewBurst(func() error {
			polls = append(polls, time.Since(began))
			return nil
		})
		for range 273 {
			if err := call(); err != nil {
				t.Error(err)
			}
			time.Sleep(3 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		if len(polls) != 2 || polls[0] != 0 || polls[1] != time.Second {
			t.Errorf("273 deliveries within 0.8 s: polled after %v, want at once and after a second", polls)
		}
	})
}
