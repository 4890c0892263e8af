package crm_test

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/oaas-platform/oprc/crm"
)

// A shelf is a whole CRM: it keeps units on a shelf.
type shelf struct{}

func (shelf) Deploy(_ context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	for _, f := range c.Unit.Functions {
		fmt.Println("put on the shelf:", f.Key, f.Image)
	}
	return crm.State{Condition: crm.Running, Replicas: []string{"shelf-1"}}, nil
}

func (shelf) Undeploy(_ context.Context, c crm.Command) error {
	fmt.Println("taken off the shelf:", c.ID)
	return nil
}

func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := crm.Run(ctx, crm.Options{Redis: "redis://localhost:6379", Env: "edge", ID: "shelf-1", Availability: 0.99}, shelf{})
	if err != nil {
		fmt.Println(err)
	}
}
