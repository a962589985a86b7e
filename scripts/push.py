from p5t5.cli.push import main

raise SystemExit(main())
