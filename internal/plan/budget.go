package plan

import (
	"fmt"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

// MaxUnits is how many units may be asked for: by one class, by the classes of one package,
// and by all packages that a plan works out. 0 is the default.
type MaxUnits struct {
	Class   int `koanf:"class"`
	Package int `koanf:"package"`
	Plan    int `koanf:"plan"`
}

// The defaults of [MaxUnits].
const (
	MostUnitsOfClass   = 250_000
	MostUnitsOfPackage = 500_000
	MostUnitsOfPlan    = 2_000_000
)

func (u MaxUnits) orDefault() MaxUnits {
	for of, most := range map[*int]int{&u.Class: MostUnitsOfClass, &u.Package: MostUnitsOfPackage, &u.Plan: MostUnitsOfPlan} {
		if *of <= 0 {
			*of = most
		}
	}
	return u
}

// A budget counts units before they are worked out: 200 bytes of a file can ask for
// gigabytes.
type budget struct {
	most     MaxUnits
	packages map[string]int
	all      int
}

func newBudget(most MaxUnits) *budget {
	return &budget{most: most.orDefault(), packages: map[string]int{}}
}

// take counts the units that a deployment asks for at least; the finding says which limit
// they exceed. What even placement refuses is left to it.
func (b *budget) take(s stand) (f placement.Finding, over bool) {
	p, r := max(1, s.declared.PartitionCount), max(1, s.declared.ReplicaCount)
	if p > placement.MaxShards || r > placement.MaxShards/p {
		return f, false
	}
	n := p * r
	b.packages[s.pkg] += n
	b.all += n
	f = placement.Finding{Code: oprc.CodeLimits, Severity: oprc.SeverityError, Pointer: "/partitionCount"}
	switch {
	case n > b.most.Class:
		f.Message = fmt.Sprintf("%d partitions with %d replicas are %d units; the limit of a class is %d", p, r, n, b.most.Class)
		f.Hint = "lower partitionCount or replicaCount; the configuration raises the limit with maxUnits.class"
	case b.packages[s.pkg] > b.most.Package:
		f.Message = fmt.Sprintf("with this deployment the package asks for %d units; the limit of a package is %d", b.packages[s.pkg], b.most.Package)
		f.Hint = "lower partitionCount or replicaCount, or split the package; the configuration raises the limit with maxUnits.package"
	case b.all > b.most.Plan:
		f.Message = fmt.Sprintf("with this deployment the packages ask for %d units; the limit of a plan is %d", b.all, b.most.Plan)
		f.Hint = "the configuration raises the limit with maxUnits.plan"
	default:
		return f, false
	}
	b.packages[s.pkg] -= n // what comes after is judged without it
	b.all -= n
	return f, true
}
