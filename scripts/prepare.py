from p5t5.commands.prepare import main

raise SystemExit(main())
