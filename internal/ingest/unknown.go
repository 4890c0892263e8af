package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// unknownFor is how long a CRM reports on a unit that no record knows before the unit is
// undeployed: a record may be on its way.
const unknownFor = time.Minute

// unknown notes a unit that a CRM runs and no record knows, as after a restore of a
// snapshot that is older than the unit. While the environment has no records at all they
// were lost, and what runs is kept.
func (b *batch) unknown(r oprc.Report, since time.Time) {
	if r.Condition != oprc.Deleted && b.records > 0 && b.now.Sub(since) >= unknownFor && !slices.Contains(b.strangers, r.ID) {
		b.strangers = append(b.strangers, r.ID)
	}
}

// dismiss records the unknown units as undeployed and queues the commands. From then on
// they are units like others, until they are forgotten as others are.
func (in *Ingest) dismiss(ctx context.Context, b *batch) error {
	var commands []oprc.Command
	var events []oprc.Event
	for _, id := range b.strangers {
		u := oprc.UnitOf(id)
		commands = append(commands, oprc.Command{
			Type: oprc.Undeploy, ID: id, Generation: 1, SpecHash: oprc.Digest(u), Time: b.now, Unit: u,
		})
		events = append(events, oprc.Event{
			Time: b.now, Type: "undeployed", Kind: oprc.KindUnit, Key: id, Env: b.env, Actor: in.Consumer,
			Message: "a CRM ran it for a minute, and no record knows it",
		})
	}
	if len(commands) == 0 {
		return nil
	}
	var recorded *oprc.ConflictError
	if err := in.Reports.Dispatch(ctx, b.env, commands, 0); err != nil && !errors.As(err, &recorded) { // meanwhile it is known
		return fmt.Errorf("undeploy units that no record knows: %w", err)
	}
	if err := in.Reports.Emit(ctx, events, 0); err != nil {
		return fmt.Errorf("emit events: %w", err)
	}
	return nil
}
