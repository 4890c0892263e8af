package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// fieldManager owns the fields that we apply.
const fieldManager = "oprc"

// An Object is one of a cluster's, of any kind.
type Object = unstructured.Unstructured

// A Kind is a kind of objects, and where the API has it.
type Kind struct {
	Resource schema.GroupVersionResource
	Name     string
}

// The kinds that units are made of.
var (
	deployments = Kind{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "Deployment"}
	services    = Kind{schema.GroupVersionResource{Version: "v1", Resource: "services"}, "Service"}
	pods        = Kind{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "Pod"}
	autoscalers = Kind{schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}, "HorizontalPodAutoscaler"}
	budgets     = Kind{schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, "PodDisruptionBudget"}
	knative     = Kind{schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}, "Knative Service"}
	namespaces  = Kind{schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, "Namespace"}
)

// The labels and annotations of everything that is made of units.
const (
	prefix = "oprc.oaas.io/"

	LabelManaged   = "app.kubernetes.io/managed-by" // always "oprc"
	LabelEnv       = prefix + "env"                 // the environment
	LabelUnit      = prefix + "unit"                // a name made of the unit's id
	LabelFunction  = prefix + "function"            // a name made of the function's key
	LabelPartition = prefix + "partition"           // a name made of class and partition

	AnnotationUnit     = prefix + "unit-id"
	AnnotationFunction = prefix + "function-key"
	AnnotationCommand  = prefix + "command" // JSON of the command that asked for it
	AnnotationDigest   = prefix + "digest"  // of the fields that were applied
)

// ClusterOptions say which cluster is used, and where in it.
type ClusterOptions struct {
	Kubeconfig string // file; default: KUBECONFIG, ~/.kube/config, or the pod's own account
	Context    string // of the kubeconfig; default: its current one
	Namespace  string // default: oprc-ENV
	Env        string // environment whose objects these are
	Logger     *slog.Logger
}

// A Cluster reads and writes the objects of one environment in one namespace.
type Cluster struct {
	Namespace string

	env    string
	log    *slog.Logger
	config *rest.Config
	client dynamic.Interface
	ctx    context.Context
	stop   context.CancelFunc

	mu      sync.Mutex
	watched map[Kind]cache.SharedIndexInformer
	running sync.WaitGroup
}

// Connect reads the configuration; it does not call the cluster yet.
func Connect(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if o.Kubeconfig != "" {
		rules.ExplicitPath = o.Kubeconfig
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("configuration of Kubernetes: %w", err)
	}
	config.QPS, config.Burst = 100, 200 // the API server has limits of its own
	config.UserAgent = "oprc-crm"
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of Kubernetes: %w", err)
	}
	if o.Namespace == "" {
		o.Namespace = namespaceOf(o.Env)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{
		Namespace: o.Namespace, env: o.Env, log: o.Logger, config: config, client: client,
		watched: map[Kind]cache.SharedIndexInformer{},
	}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	return c, nil
}

// namespaceOf is where an environment's objects are by default.
func namespaceOf(env string) string {
	if name := "oprc-" + strings.ToLower(env); len(name) <= 63 && !strings.ContainsAny(name, "._") {
		return name
	}
	return workload.Name("oprc", env)
}

// Close ends all watches.
func (c *Cluster) Close() {
	c.stop()
	c.running.Wait()
}

// callTime is how long one call of the API may take.
const callTime = 30 * time.Second

// selector picks the environment's objects.
func (c *Cluster) selector() string {
	return LabelManaged + "=oprc," + LabelEnv + "=" + workload.LabelValue(c.env)
}

// EnsureNamespace makes the namespace where it is missing.
func (c *Cluster) EnsureNamespace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	o := object(m{"apiVersion": "v1", "kind": "Namespace", "metadata": m{"name": c.Namespace}})
	_, err := c.client.Resource(namespaces.Resource).Apply(ctx, c.Namespace, o, metav1.ApplyOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("namespace %s: %w", c.Namespace, err)
	}
	return nil
}

// Serves reports whether the cluster knows the kind.
func (c *Cluster) Serves(ctx context.Context, k Kind) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := c.client.Resource(k.Resource).Namespace(c.Namespace).List(ctx, metav1.ListOptions{Limit: 1, LabelSelector: c.selector()})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", k.Name, err)
	}
	return true, nil
}

// Watch keeps a copy of the environment's objects of a kind, and calls changed with
// each that appears, changes or goes. It returns when the copy is complete.
func (c *Cluster) Watch(ctx context.Context, k Kind, changed func(*Object)) error {
	c.mu.Lock()
	informer, known := c.watched[k]
	if !known {
		informer = c.informer(k, changed)
		c.watched[k] = informer
		c.running.Go(func() { informer.RunWithContext(c.ctx) })
	}
	c.mu.Unlock()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	return nil
}

// Watches reports whether there is a complete copy of the kind.
func (c *Cluster) Watches(k Kind) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	informer, known := c.watched[k]
	return known && informer.HasSynced()
}

// lookAgain is how often everything is compared without an event.
const lookAgain = 5 * time.Minute

func (c *Cluster) informer(k Kind, changed func(*Object)) cache.SharedIndexInformer {
	resource := c.client.Resource(k.Resource).Namespace(c.Namespace)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = c.selector()
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = c.selector()
			return resource.Watch(ctx, o)
		},
	}
	indexers := cache.Indexers{}
	for _, label := range []string{LabelUnit, LabelPartition} {
		indexers[label] = func(o any) ([]string, error) {
			if v := o.(*Object).GetLabels()[label]; v != "" {
				return []string{v}, nil
			}
			return nil, nil
		}
	}
	informer := cache.NewSharedIndexInformer(lw, &Object{}, lookAgain, indexers)
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			c.log.Warn("watch", "kind", k.Name, "namespace", c.Namespace, "error", err)
		}
	})
	_ = informer.SetTransform(func(o any) (any, error) {
		if o, ok := o.(*Object); ok {
			o.SetManagedFields(nil) // half of an object's size, and nobody reads them
		}
		return o, nil
	})
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changed(o.(*Object)) },
		UpdateFunc: func(_, o any) { changed(o.(*Object)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			if o, ok := o.(*Object); ok {
				changed(o)
			}
		},
	})
	return informer
}

// Cached is an object as it was last seen; nil if it was not there. It must not be
// changed.
func (c *Cluster) Cached(k Kind, name string) *Object {
	c.mu.Lock()
	informer := c.watched[k]
	c.mu.Unlock()
	if informer == nil {
		return nil
	}
	found, ok, _ := informer.GetStore().GetByKey(c.Namespace + "/" + name)
	if !ok {
		return nil
	}
	return found.(*Object)
}

// CachedBy are the objects with a label, by name; all of them for the label "". They
// must not be changed.
func (c *Cluster) CachedBy(k Kind, label, value string) []*Object {
	c.mu.Lock()
	informer := c.watched[k]
	c.mu.Unlock()
	if informer == nil {
		return nil
	}
	found := informer.GetStore().List()
	if label != "" {
		found, _ = informer.GetIndexer().ByIndex(label, value)
	}
	out := make([]*Object, 0, len(found))
	for _, o := range found {
		out = append(out, o.(*Object))
	}
	slices.SortFunc(out, func(a, b *Object) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// Get reads an object; nil if it is not there.
func (c *Cluster) Get(ctx context.Context, k Kind, name string) (*Object, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	o, err := c.client.Resource(k.Resource).Namespace(c.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k.Name, name, err)
	}
	return o, nil
}

// List reads the objects of the environment with a label.
func (c *Cluster) List(ctx context.Context, k Kind, label, value string) ([]Object, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	list, err := c.client.Resource(k.Resource).Namespace(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: c.selector() + "," + label + "=" + value})
	if err != nil {
		return nil, fmt.Errorf("list of %s: %w", k.Name, err)
	}
	return list.Items, nil
}

// Apply makes the object's fields so, whoever set them. An object that the cluster can
// never accept is a [crm.ErrInvalid].
func (c *Cluster) Apply(ctx context.Context, k Kind, o *Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c.log.Debug("apply", "kind", k.Name, "name", o.GetName())
	err := c.apply(ctx, k, o)
	if apierrors.IsInvalid(err) {
		if again := c.replaceLists(ctx, k, o); again == nil {
			err = c.apply(ctx, k, o)
		}
	}
	switch {
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return fmt.Errorf("%s %s: %w: %w", k.Name, o.GetName(), crm.ErrInvalid, err)
	case err != nil:
		return fmt.Errorf("%s %s: %w", k.Name, o.GetName(), err)
	}
	return nil
}

func (c *Cluster) apply(ctx context.Context, k Kind, o *Object) error {
	_, err := c.client.Resource(k.Resource).Namespace(c.Namespace).Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// replaceLists sets whole lists, where an apply would only add to what others have put
// into them: a Service whose port somebody has changed would have two of one name.
func (c *Cluster) replaceLists(ctx context.Context, k Kind, o *Object) error {
	text, err := json.Marshal(o.Object)
	if err != nil {
		return err
	}
	_, err = c.client.Resource(k.Resource).Namespace(c.Namespace).Patch(ctx, o.GetName(), types.MergePatchType, text, metav1.PatchOptions{FieldManager: fieldManager + "-repair"})
	return err
}

// Delete removes an object with all that belongs to it. One that is not there, or has
// been made anew under its name, is no error.
func (c *Cluster) Delete(ctx context.Context, k Kind, o *Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	uid, background := o.GetUID(), metav1.DeletePropagationBackground
	c.log.Debug("delete", "kind", k.Name, "name", o.GetName())
	err := c.client.Resource(k.Resource).Namespace(c.Namespace).Delete(ctx, o.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s %s: %w", k.Name, o.GetName(), err)
	}
	return nil
}

// Create makes an object that is not there yet.
func (c *Cluster) Create(ctx context.Context, k Kind, o *Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := c.client.Resource(k.Resource).Namespace(c.Namespace).Create(ctx, o, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("%s %s: %w", k.Name, o.GetName(), err)
	}
	return nil
}

// Update writes an object unless it has changed since it was read.
func (c *Cluster) Update(ctx context.Context, k Kind, o *Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := c.client.Resource(k.Resource).Namespace(c.Namespace).Update(ctx, o, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("%s %s: %w", k.Name, o.GetName(), err)
	}
	return nil
}

// DeleteVersion removes an object unless it has changed since it was read.
func (c *Cluster) DeleteVersion(ctx context.Context, k Kind, o *Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	uid, version := o.GetUID(), o.GetResourceVersion()
	err := c.client.Resource(k.Resource).Namespace(c.Namespace).Delete(ctx, o.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", k.Name, o.GetName(), err)
	}
	return nil
}

// m is a JSON object.
type m = map[string]any

// object is content as the API returns it: whole numbers are int64.
func object(content m) *Object {
	text, err := json.Marshal(content)
	var o Object
	if err == nil {
		err = o.UnmarshalJSON(text)
	}
	if err != nil {
		panic(err) // it is made of texts and numbers, and has a kind
	}
	return &o
}

// Sealed notes the digest of an object's fields in it, so that a field which is no
// longer asked for is seen.
func Sealed(content m) *Object {
	o := object(content)
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationDigest] = oprc.Digest(o.Object)
	o.SetAnnotations(annotations)
	return o
}

// Same reports whether nothing has to be written for an object to be so.
func Same(live, want *Object) bool {
	return live != nil && live.GetAnnotations()[AnnotationDigest] == want.GetAnnotations()[AnnotationDigest] && Covers(live.Object, want.Object)
}
