package reconcile

var WhyMoved = whyMoved
