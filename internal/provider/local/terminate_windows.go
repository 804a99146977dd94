package local

import "os"

// terminate ends a box: Windows knows no way to ask.
var terminate = os.Kill
