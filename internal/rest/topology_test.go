package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/rest"
)

// The topology shows each replica where it is, and each caller what is theirs.
func TestTopology(t *testing.T) {
	known, shown := tokens(t, map[string]rest.Token{"root": {Role: rest.Admin}, "eve": {Role: rest.Viewer, Limits: rest.Limits{Packages: []string{"other"}}}})
	w := newWorld(t, func(s *rest.Server) { s.Access = rest.Access{Tokens: known, Now: time.Now} })
	w.apply("cli", shop)
	w.apply("cli", strings.ReplaceAll(shop, "name: shop", "name: other"))
	as := func(who, query string) map[string]any {
		t.Helper()
		return w.want(w.send("GET", "/topology"+query, "", "Authorization", shown[who]), http.StatusOK).json(t)
	}
	got := as("root", "?package=shop")
	replica := func(partition float64) any {
		return map[string]any{
			"unit": map[float64]string{0: "shop.cart/0/0@east", 1: "shop.cart/1/0@east"}[partition], "env": "east", "partition": partition, "replica": 0.0,
			"primary": true, "condition": "PENDING", "settled": false,
		}
	}
	want := map[string]any{
		"total": 1.0, "offset": 0.0, "itemCount": 1.0, "conditions": map[string]any{"PENDING": 2.0},
		"items": []any{map[string]any{
			"class": "shop.cart", "package": "shop", "condition": "PENDING", "units": 2.0, "running": 0.0, "replicas": []any{replica(0), replica(1)},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for query, total := range map[string]float64{"": 2, "?class=CART": 2, "?condition=running": 0, "?unwell=true": 2, "?env=west": 0, "?env=east&limit=1": 2} {
		if got := as("root", query)["total"]; got != total {
			t.Errorf("%s: %v, want %v", query, got, total)
		}
	}
	if got := as("eve", ""); got["total"] != 1.0 || !cmp.Equal(got["conditions"], map[string]any{"PENDING": 1.0}) {
		t.Errorf("eve sees %v", got)
	}
}
