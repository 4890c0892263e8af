package classruntime

import (
	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/kubernetes"
)

// Spec is the spec of the object that holds the units of commands, the first's class.
func Spec(all ...crm.Command) (any, error) {
	shares := map[string]share{}
	for _, c := range all {
		shares[key(c.ID)] = shareOf(c)
	}
	d := &Driver{Cluster: &kubernetes.Cluster{}, env: "cloud"}
	o, err := d.objectOf("shop-order", all[0].Unit, shares)
	if err != nil {
		return nil, err
	}
	return o.Object["spec"], nil
}

// State is what is reported of an object.
func State(o *kubernetes.Object, class crm.Unit) crm.State { return stateOf(o, class) }
