from p5t5.cli.serve import main

raise SystemExit(main())
