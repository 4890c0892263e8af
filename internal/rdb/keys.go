package rdb

// Keys knows the name of every key and stream. N is the database name, T the
// topic prefix, E an environment; braces are Redis Cluster hash tags: all keys
// of the catalogue share one slot, all keys of one environment another.
type Keys struct {
	N string // default "oaas_pm"
	T string // default "oaas.pm"
}

// Catalogue. Writer: Commit, unless said otherwise.
func (k Keys) packages() string         { return k.N + ":{catalog}:packages" }      // HASH name -> PackageRecord
func (k Keys) classes() string          { return k.N + ":{catalog}:classes" }       // HASH key -> Class
func (k Keys) functions() string        { return k.N + ":{catalog}:functions" }     // HASH key -> Function
func (k Keys) deployments() string      { return k.N + ":{catalog}:deployments" }   // HASH key -> Deployment
func (k Keys) catalogueDigests() string { return k.N + ":{catalog}:digests" }       // HASH kind/key -> "rev digest blob"
func (k Keys) environments() string     { return k.N + ":{catalog}:environments" }  // HASH name -> EnvironmentRecord
func (k Keys) sources() string          { return k.N + ":{catalog}:sources" }       // HASH name -> SourceStatus; writer: the loop
func (k Keys) held() string             { return k.N + ":{catalog}:held" }          // HASH source -> plan that waits for an approval; writer: the loop
func (k Keys) requests() string         { return k.N + ":{catalog}:requests" }      // HASH verb/name -> SourceRequest, ticket/source -> number; writer: people
func (k Keys) history(of string) string { return k.N + ":{catalog}:history:" + of } // STREAM of a package, or of "environment/NAME"
func (k Keys) lease() string            { return k.N + ":{catalog}:lease" }         // HASH holder, token, expires; writer: the leader
func (k Keys) daemons() string          { return k.N + ":{catalog}:daemons" }       // HASH holder -> "ms configuration"; writer: the daemons
func (k Keys) topic() string            { return k.T + ".{catalog}.ledger" }        // STRING key prefix of the ledger that has the topic prefix; writer: daemons, Open
func (k Keys) events() string           { return k.T + ".{catalog}.events" }
func (k Keys) known() string            { return k.N + ":{catalog}:known" }    // SET of environments ever dispatched to or heard of; writer: both
func (k Keys) ledger() string           { return k.N + ":{catalog}:ledger" }   // HASH id, format, commit (token of the last one); writer: who opens it first, Commit
func (k Keys) version() string          { return k.N + ":{catalog}:version" }  // STRING, counts what Commit and Observe change
func (k Keys) observed() string         { return k.N + ":{catalog}:observed" } // HASH env -> Observation; writer: Observe
func (k Keys) gone() string             { return k.N + ":{catalog}:gone" }     // HASH package/name, environment/name -> revision under which it was deleted
func (k Keys) turns() string            { return k.N + ":{catalog}:turns" }    // HASH place -> "since until": who waits to write; writer: AwaitTurn, Commit

func (k Keys) index() string { return k.N + ":{catalog}:index" } // HASH, see index.go
func (k Keys) refs() string  { return k.N + ":{catalog}:refs" }  // ZSET, see index.go

func (k Keys) nothing() string { return k.N + ":{catalog}:nothing" } // never there: what Writable asks about

func (k Keys) tokens() string          { return k.N + ":{catalog}:tokens" }       // HASH name -> token, by its hash; writer: admins
func (k Keys) kept(name string) string { return k.N + ":{catalog}:kept:" + name } // STRING that expires: plans, answers; writer: the API

func (k Keys) env(e, rest string) string { return k.N + ":{env:" + e + "}:" + rest }

// One environment. Writer: Dispatch for units and digests, Ingest for the others.
func (k Keys) units(e string) string        { return k.env(e, "units") }   // HASH unit id -> UnitRecord
func (k Keys) unitDigests(e string) string  { return k.env(e, "digests") } // HASH unit id -> "generation specHash", "generation -" once undeployed
func (k Keys) statuses(e string) string     { return k.env(e, "status") }  // HASH unit id -> Status
func (k Keys) runtime(e, cls string) string { return k.env(e, "runtime:"+cls) }
func (k Keys) crms(e string) string         { return k.env(e, "crms") }   // HASH crm id -> Heartbeat
func (k Keys) moved(e string) string        { return k.env(e, "moved") }  // STRING, counts what changes digests and statuses; writer: every script that does
func (k Keys) outbox(e string) string       { return k.env(e, "outbox") } // STREAM of events that are not in the events stream yet
func (k Keys) fence(e string) string        { return k.env(e, "fence") }  // STRING, highest fencing token seen; writer: every script that checks it

func (k Keys) commands(e string) string { return k.T + ".{env:" + e + "}.commands" } // group crm
func (k Keys) reports(e string) string  { return k.T + ".{env:" + e + "}.reports" }  // group package-manager
func (k Keys) dead(e string) string     { return k.T + ".{env:" + e + "}.dead" }
